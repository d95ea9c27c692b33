"""Definitions: registered sources, views and services, their versions, references and catalog."""
