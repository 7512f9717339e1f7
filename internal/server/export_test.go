package server

import (
	"context"

	"oakum.dev/wire/codec"
)

// Operations is the table of everything that can be called.
func (s *Server) Operations() []codec.Operation { return s.operations() }

// Retain runs the hourly removal of what is old.
func (s *Server) Retain(ctx context.Context) error { return s.retain(ctx) }

// Work does what is due.
func (s *Server) Work(ctx context.Context) error { return s.work(ctx) }

// Flush writes the heartbeats.
func (s *Server) Flush(ctx context.Context) error { return s.nodes.Flush(ctx) }

// Channels is the number of control channels.
func (s *Server) Channels() int { return s.hub.Open() }

// Reconcile looks for nodes that another server has deregistered.
func (s *Server) Reconcile(ctx context.Context) error { return s.reconcile(ctx) }

// Sweep closes silent control channels.
func (s *Server) Sweep(ctx context.Context) error { return s.hub.Sweep(ctx) }

// Reads is the number of transactions that the database has begun.
func (s *Server) Reads() int64 { return s.store.Begun() }

// Parked is the number of polls that wait.
func (s *Server) Parked() int { return s.hub.Parked() }
