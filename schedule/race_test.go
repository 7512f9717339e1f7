//go:build race

package schedule_test

// raceDetector makes walks ten times as slow, and has nothing to find in them: they are sampled as in -short.
const raceDetector = true
