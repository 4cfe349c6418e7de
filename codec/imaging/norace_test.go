//go:build !race

package imaging_test

const raced = 1
