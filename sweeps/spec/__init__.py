"""The spec: what a sweep file may say, read, checked and written."""
