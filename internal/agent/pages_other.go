//go:build !linux

package agent

// ReleasePages does nothing here.
func ReleasePages() {}
