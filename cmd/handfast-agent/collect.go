package main

import "github.com/handfast/handfast/internal/ballast"

// ballastSize is counted by the collector as what the agent keeps. What an agent keeps is some 5 MB, which Go's GOGC=100 would collect at each 5 MB of garbage
// when peers connect, which is a hundred handshakes; with the ballast it is each 21. Where it keeps much, for thousands
// of connections, this changes nothing, which a higher GOGC would.
const ballastSize = 8 << 20

// ballast must stay reachable for as long as the agent runs. It is empty where an operator has chosen GOGC.
func (env *environment) ballast() []byte {
	if _, chosen := env.lookup("GOGC"); chosen {
		return nil
	}
	return ballast.New(ballastSize)
}
