# What R says of the same data, for the tests of what users do with a solution. See ../README.md.
#
#   Rscript make.R            writes the .json files into the current folder

source("../make.R")
suppressMessages(library(vegan))

read <- function(name) {
  text <- paste(readLines(paste0("../", name, ".json")), collapse = "\n")
  numbers <- sub(".*\"dissimilarities\": \\[([^]]*)\\].*", "\\1", text)
  values <- as.numeric(strsplit(numbers, ",")[[1]])
  n <- (1 + sqrt(1 + 8 * length(values))) / 2
  full <- matrix(0, n, n)
  full[lower.tri(full)] <- values  # by columns, as numpy.triu_indices goes by rows
  as.dist(full)
}

plain <- function(m) {
  m <- as.matrix(m)
  dimnames(m) <- NULL
  m
}

# Eigenvalues and goodness of fit of classical scaling; negative ones and none.
classical <- function(name, k) {
  found <- suppressWarnings(cmdscale(read(name), k, eig = TRUE))
  list(name = name, k = k, eigenvalues = found$eig, gof = found$GOF)
}

# The best of vegan's search, and how often it was met.
searched <- function(name, k, seed) {
  set.seed(seed)
  tiny <- 1e-12
  found <- metaMDS(read(name), k = k, try = 30, trymax = 30, trace = 0, autotransform = FALSE,
                   wascores = FALSE, maxit = 5000, smin = tiny, sfgrmin = tiny,
                   sratmax = 1 - tiny)
  list(name = name, k = k, stress1 = found$stress, times_met = found$converged,
       configuration = plain(found$points), goodness = unname(goodness(found)))
}

# Stress-1 at the optimum reached from the classical start, in k dimensions.
dims <- function(name, ks, transform) {
  delta <- read(name)
  pairs <- observed_pairs(delta)
  start <- suppressWarnings(cmdscale(delta, max(ks)))
  reached <- sapply(ks, function(k) {
    x <- smacof(start[, 1:k, drop = FALSE], pairs, transform, 100)
    stress1(bfgs(x, pairs, transform), pairs, transform)
  })
  list(name = name, transform = transform, k = ks, stress1 = reached)
}

# Vectors of variables in a configuration, by regression.
vectors <- function() {
  variables <- USArrests[1:21, ]
  points <- rounded(cmdscale(read("USArrests"), 2))
  fit <- envfit(points, variables, permutations = 0)$vectors
  list(points = plain(points), variables = plain(variables), arrows = plain(fit$arrows),
       r = unname(fit$r))
}

# Shepard's diagram of the classical configuration, without ties.
shepard <- function() {
  delta <- read("USArrests")
  points <- rounded(cmdscale(delta, 2))
  found <- MASS::Shepard(delta, points)
  list(points = plain(points), dissimilarities = found$x, distances = found$y,
       disparities = found$yf)
}

if (sys.nframe() == 0) {
  results <- list(
    classical = list(eurodist = classical("eurodist", 2), stackloss = classical("stackloss", 3),
                     USArrests = classical("USArrests", 2)),
    searched = list(eurodist = searched("eurodist", 2, 1), stackloss = searched("stackloss", 3, 1)),
    dims = list(ratio = dims("USArrests", 2:5, "ratio"),
                ordinal = dims("stackloss", 2:5, "ordinal_primary")),
    vectors = vectors(),
    shepard = shepard()
  )
  for (name in names(results)) writeLines(json(results[[name]]), paste0(name, ".json"))
}
