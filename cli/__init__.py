"""The lcpy command: words in, one library call, text out. It begins in `main`."""
