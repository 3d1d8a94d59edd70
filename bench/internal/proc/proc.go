// Package proc reads from /proc what a process has used.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: the kernel's USER_HZ is 100 on every platform
// that Go runs on. The kernel itself counts in nanoseconds, so times are cut, not sampled.
const tick = 10 * time.Millisecond

// CPU returns the user and system time of a process so far, all threads together.
func CPU(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(data)
}

// parseStat reads utime and stime, fields 14 and 15 of proc_pid_stat(5). The name in
// field 2 may hold anything, parentheses included.
func parseStat(data []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(data, ')')
	fields := bytes.Fields(data[end+1:])
	if end < 0 || len(fields) < 13 {
		return 0, fmt.Errorf("/proc stat line of %d bytes is not understood", len(data))
	}
	user, err := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err, err2)
}

// RSS returns the resident memory of a process in bytes, now and at its peak.
func RSS(pid int) (now, peak int64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseStatus(string(data))
}

func parseStatus(status string) (now, peak int64, err error) {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		var to *int64
		switch name {
		case "VmRSS":
			to = &now
		case "VmHWM":
			to = &peak
		default:
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc status: %w", err)
		}
		*to = kilobytes << 10
	}
	if now == 0 || peak == 0 {
		return 0, 0, errors.New("/proc status names no resident memory")
	}
	return now, peak, nil
}
