//go:build !windows

package agent

import (
	"context"
	"errors"
	"log/slog"
)

var errNoServices = errors.New("this system has no Windows services")

// Serve runs the agent under the service manager of Windows.
func Serve(string, func(context.Context, *slog.Logger) error) error { return errNoServices }

func installService(*System, string) (string, error) { return "", errNoServices }

func uninstallService() error { return errNoServices }
