package ca

import "context"

// Purge runs what Run does now and then.
func (c *CA) Purge(ctx context.Context) error { return c.purge(ctx) }
