"""The network of a container: today its loopback interface."""
