//go:build !linux

package agent

func releasePages() {}
