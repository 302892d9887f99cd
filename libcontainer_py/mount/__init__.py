"""The container's root filesystem: made in a new mount namespace, entered by pivot_root.

All of it runs in the child, between the clone and the finish list, on files that belong to
somebody else. Two rules keep it safe:

- A path inside the root is resolved beneath it to a descriptor (`paths`), and from then on the
  descriptor is what is used, never the path again.
- A mount is made detached (fsopen, open_tree), given its flags while nobody can see it, and moved
  onto the descriptor of its destination (move_mount). What is renamed meanwhile does not matter.

Needs Linux 5.12 (mount_setattr).
"""
