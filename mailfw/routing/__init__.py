"""Where mail goes next: the rules of the configuration, then MX, MTA-STS and DANE."""
