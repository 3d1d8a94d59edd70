module github.com/handfast/handfast/certs

go 1.26.0
