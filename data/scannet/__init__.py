"""ScanNet: from `.sens` recordings or exported folders to a prepared dataset."""
