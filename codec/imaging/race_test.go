//go:build race

package imaging_test

// raced is how many times more a program allocates that looks for races: what grows a
// buffer, and colours that others look at.
const raced = 2
