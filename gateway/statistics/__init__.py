"""Pure statistics: what is added up of rows, and what is said of the sums.

Nothing here reads a clock, a file or a random number; numpy and scipy do the arithmetic.
"""
