package main

import "github.com/EnumApps/clustersql/internal/race"

// raceEnabled is true if the tests run with the race detector; the program is then
// built with it too.
const raceEnabled = race.Enabled
