// Package db is what sqlc makes of the SQL beside it in ../queries and
// ../migrations. It is for package postgres alone; change the SQL and generate.
package db
