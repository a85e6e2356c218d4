"""The peer benchmark: the same models behind every server, measured in turns, on one machine."""
