"""Drift for people: a running gateway's answers as a table in a terminal, and as a page.

Reads documents, writes texts; measures nothing.
"""
