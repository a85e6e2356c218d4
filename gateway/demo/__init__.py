"""`gateway demo`: a demonstration repository with two trained branches, served and explained."""

from gateway.demo.repository import build_repository
from gateway.demo.run import run_demo

__all__ = ["build_repository", "run_demo"]
