package main

import (
	"errors"

	"github.com/handfast/handfast/ca/api"
)

// collectPages asks for page after page, beginning behind cursor ("" is the beginning), until limit items are there
// (0 is all). The second result is the cursor of what is left, "" for nothing.
func collectPages[T any](cursor string, limit int, page func(size int, cursor string) (items []T, next string, err error)) ([]T, string, error) {
	all := []T{}
	for {
		size := api.MaxPageSize
		if limit > 0 {
			size = min(size, limit-len(all))
		}
		items, next, err := page(size, cursor)
		if err != nil {
			return nil, "", err
		}
		all = append(all, items...)
		if next == "" || limit > 0 && len(all) >= limit {
			return all, next, nil
		}
		if next == cursor {
			return nil, "", errors.New("the CA's listing does not come to an end")
		}
		cursor = next
	}
}
