"""Training losses, in the published form (`paper`) and a corrected one (`standard`)."""
