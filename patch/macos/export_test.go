package macos

// What only tests of the formats reach from outside.
var (
	ParseList      = parseList
	ParseHistory   = parseHistory
	ParseBrew      = parseBrew
	InstallHistory = installHistory
)
