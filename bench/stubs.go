package main
import "context"
func (s *session) limit(ctx context.Context) error { return nil }
func (s *session) ocsp(ctx context.Context) error { return nil }
func (s *session) crl(ctx context.Context) error { return nil }
func (s *session) proxy(ctx context.Context) error { return nil }
func (s *session) profile(ctx context.Context) error { return nil }
