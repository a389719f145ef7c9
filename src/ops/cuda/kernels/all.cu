// Everything in one file for the compiler: a program loads one module.

#include "attention.cu"
#include "maps.cu"
#include "norm.cu"
#include "product.cu"
