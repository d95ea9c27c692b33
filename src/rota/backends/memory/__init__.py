"""The reference of each port in memory: what every engine must do, and the stores of quick tests."""
