"""Sorting a folder of faces: what is measured, orders, the choice of the best, and safe renaming."""
