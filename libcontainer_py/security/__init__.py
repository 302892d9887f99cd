"""What a container's processes may do: capabilities, limits, keyring."""
