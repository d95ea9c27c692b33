"""Rendering: how things look on a page, in a report and in a terminal: charts, drawings, model cards."""
