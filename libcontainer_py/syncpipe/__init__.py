"""The sync pipe: what parent and child say to each other while a container is made."""
