"""Engines behind the ports: one file per engine, the only importer of its library, translating its errors."""
