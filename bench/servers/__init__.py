"""What the peers serve; each runs in its own environment, none of them in ours."""
