"""Spark and Sail: one `mapInArrow` over blocks, the same on both."""
