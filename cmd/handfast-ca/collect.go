package main

// ballastSize is counted by the collector as what the daemon keeps, and never touched, so that it takes addresses
// and no memory. What an idle daemon keeps is some 10 MB, which Go's GOGC=100 would collect at each 10 MB of garbage
// under load; with the ballast it is each 34. Where it keeps hundreds of megabytes, for thousands of
// streams, this changes nothing, which a higher GOGC would.
const ballastSize = 24 << 20

// ballast must stay reachable for as long as the daemon runs. It is empty where an operator has chosen GOGC.
func (env *environment) ballast() []byte {
	if _, chosen := env.lookup("GOGC"); chosen {
		return nil
	}
	return make([]byte, ballastSize)
}
