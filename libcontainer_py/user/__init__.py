"""Users and groups of a root filesystem: its passwd and group files, read as data.

`passwd` opens and parses the files, `lookup` answers who a process shall be. No NSS, no dlopen:
libc's own functions would load libraries from inside the image (CVE-2019-14271).
"""
