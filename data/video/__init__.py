"""Videos and folders of images that a user brings along, with whatever ground truth a manifest adds to them."""
