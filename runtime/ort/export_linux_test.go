package ort

// LoadLocale loads the locale from an image's folder, or by a temporary one.
func LoadLocale(image string, temporary ...string) error { return loadLocale(image, temporary...) }
