"""Intel RDT: a share of the processor's cache and of the memory's bandwidth.

It is libcontainer's intelrdt. `resctrl` is the kernel's file system for it, `groups` a container's
place in there, and `stats` what `events` tells of it. Imported only where config.json has
``linux.intelRdt``. Processors of AMD and Arm have the same, under the same file system.
"""
