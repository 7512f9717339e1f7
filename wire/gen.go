// Package wire is the parent of the generated service packages and of what they share. It has no code.
package wire

//go:generate go run oakum.dev/internal/gen/api -out .
