package main

import "context"

func (o *options) clusterPipelines(_ context.Context, _ *platform, _ string) ([]row, error) {
	return nil, errNoCluster
}
