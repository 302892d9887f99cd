"""The two sides of a container's birth: `exec` (the parent's) and `init` (the child's), the finish
list that ends the child's, and the launcher for programs with threads.
"""
