"""The control plane over HTTP, one file per process, and the pages."""
