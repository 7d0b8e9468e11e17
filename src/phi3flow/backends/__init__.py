"""Where models are fine-tuned and endpoints run: this machine, or a service of Azure."""
