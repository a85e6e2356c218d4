"""Loads on a running gateway: what users would do (locust), and a race with its peers (bench)."""
