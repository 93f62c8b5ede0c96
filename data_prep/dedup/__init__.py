"""Removal of documents that say the same: exactly (`exact`) or nearly (`near`)."""
