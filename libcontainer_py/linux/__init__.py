"""The kernel, in its own names: system calls, flags, structures. No policy lives here.

`flags` are the constants, `numbers` the system calls' numbers for each architecture, `syscalls`
one small function a call.
"""
