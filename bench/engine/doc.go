//go:build !linux

// Command engine measures the patch engine on Linux. Elsewhere it does nothing.
package main

func main() {}
