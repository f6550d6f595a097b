# Optima of stress-1 for the tests of deepmds_jax.mds, made by R alone. See README.md.
#
#   Rscript make.R            writes NAME.json for every problem into the current folder

# Every problem, rounded to the digits that are written, so that a file's own numbers are the
# numbers behind its optima.
problems <- function() {
  set.seed(1)  # R's default generators: Mersenne-Twister, inversion, rejection
  faces <- split(read.csv("faces.csv")[c("x", "y", "z")], read.csv("faces.csv")$face)
  noisy <- function(face, noise) {
    d <- dist(face)
    d * (1 + noise * rnorm(length(d)))
  }
  with_gaps <- function(d, share) replace(d, sample(length(d), round(share * length(d))), NA)
  made <- list(
    eurodist = list(eurodist, "road distances (km) between 21 European cities, datasets::eurodist"),
    stackloss = list(vegan::vegdist(stackloss, "bray"),
                     "Bray-Curtis dissimilarities of the 21 rows of datasets::stackloss"),
    USArrests = list(dist(scale(USArrests[1:21, ])),
                     "distances of the first 21 standardised rows of datasets::USArrests"),
    iris = list(dist(scale(iris[c(1:23, 51:73, 101:122), 1:4])),
                "distances of 68 standardised rows of datasets::iris, the first of each species"),
    face_n00 = list(noisy(faces[[1]], 0), "distances (mm) of the landmarks of face 1"),
    face_n03 = list(noisy(faces[[2]], 0.03), "distances (mm) of face 2, 3 % noise"),
    face_n00_na20 = list(with_gaps(noisy(faces[[3]], 0), 0.2),
                         "distances (mm) of face 3, 20 % of the pairs missing"),
    face_n10_na20 = list(with_gaps(noisy(faces[[4]], 0.1), 0.2),
                         "distances (mm) of face 4, 10 % noise, 20 % of the pairs missing")
  )
  lapply(made, function(p) list(delta = rounded(p[[1]]), title = p[[2]]))
}

rounded <- function(d) replace(d, TRUE, as.numeric(ifelse(is.na(d), NA, sprintf("%.10g", d))))

# ---- Stress-1 and its gradient, over the observed pairs (i, j) ----

observed_pairs <- function(delta) {
  n <- attr(delta, "Size")
  i <- sequence((n - 1):1, 2:n)  # the order of `dist`: down the columns of the lower triangle
  j <- rep(1:(n - 1), (n - 1):1)
  seen <- !is.na(delta)
  list(n = n, i = i[seen], j = j[seen], delta = as.vector(delta)[seen])
}

distances <- function(x, pairs) sqrt(rowSums((x[pairs$i, ] - x[pairs$j, ])^2))

disparities <- function(d, delta, transform) {
  rising <- function(values, order) replace(values, order, isoreg(values[order])$yf)
  switch(transform,
    ratio = delta * sum(delta * d) / sum(delta^2),
    interval = {
      centred <- delta - mean(delta)
      mean(d) + max(0, sum(centred * d) / sum(centred^2)) * centred
    },
    ordinal_primary = rising(d, order(delta, d)),
    # Where d is constant over a tie, so is the best fit: unit weights do for the means.
    ordinal_secondary = rising(ave(d, delta), order(delta))
  )
}

# Laplacian matrix of the pairs' weights: minus the weights off the diagonal, rows that sum to 0.
laplacian <- function(weights, pairs) {
  m <- matrix(0, pairs$n, pairs$n)
  m[cbind(pairs$i, pairs$j)] <- -weights
  m <- m + t(m)
  diag(m) <- -rowSums(m)
  m
}

squared_stress <- function(x, pairs, transform) {
  d <- distances(x, pairs)
  sum((disparities(d, pairs$delta, transform) - d)^2) / sum(d^2)
}

# The disparities are a projection of d, so their own change has no first-order effect.
squared_stress_gradient <- function(x, pairs, transform) {
  d <- distances(x, pairs)
  residual <- d - disparities(d, pairs$delta, transform)
  by_distance <- 2 * (residual - d * sum(residual^2) / sum(d^2)) / sum(d^2)
  laplacian(ifelse(d > 0, by_distance / d, 0), pairs) %*% x
}

stress1 <- function(x, pairs, transform) sqrt(squared_stress(x, pairs, transform))

# ---- The routes to an optimum ----

# Guttman transforms until `still` or as many as `iterations`.
smacof <- function(x, pairs, transform, iterations, still = 1e-15) {
  inverse <- MASS::ginv(laplacian(rep(1, length(pairs$delta)), pairs))
  for (iteration in seq_len(iterations)) {
    d <- distances(x, pairs)
    fitted <- disparities(d, pairs$delta, transform)
    fitted <- fitted * sqrt(length(fitted) / sum(fitted^2))
    moved <- inverse %*% laplacian(ifelse(d > 0, fitted / d, 0), pairs) %*% x
    if (sum((moved - x)^2) <= still^2 * sum(moved^2)) break
    x <- moved
  }
  x
}

bfgs <- function(x, pairs, transform) {
  k <- ncol(x)
  at <- function(f) function(v) f(matrix(v, ncol = k), pairs, transform)
  found <- optim(as.vector(x / sqrt(mean(x^2))), at(squared_stress), at(squared_stress_gradient),
                 method = "BFGS", control = list(maxit = 20000, reltol = 1e-300))
  stopifnot(found$convergence == 0)
  x <- scale(matrix(found$par, ncol = k), scale = FALSE)
  x / sqrt(mean(x^2))
}

mono_mds <- function(delta, x, transform) {
  tiny <- 1e-15
  model <- if (transform == "interval") "linear" else "global"
  vegan::monoMDS(delta, y = x, k = ncol(x), model = model,
                 weakties = transform != "ordinal_secondary",
                 maxit = 20000, smin = tiny, sfgrmin = tiny, sratmax = 1 - tiny)$points
}

optimum <- function(delta, start, transform, random_starts) {
  pairs <- observed_pairs(delta)
  found <- bfgs(smacof(start, pairs, transform, 100), pairs, transform)
  routes <- list(bfgs = stress1(found, pairs, transform))
  if (transform == "ratio") {
    routes$smacof <- stress1(smacof(start, pairs, transform, 20000), pairs, transform)
  } else {
    routes$monoMDS <- stress1(mono_mds(delta, start, transform), pairs, transform)
  }
  result <- list(stress1 = routes$bfgs, routes = routes, difference = routes[[2]] - routes$bfgs)
  if (transform == "ordinal_primary" && !anyNA(delta) && !anyDuplicated(pairs$delta)) {
    result$isoMDS <- MASS::isoMDS(delta, start, ncol(start), maxit = 20000, trace = FALSE,
                                  tol = 1e-15)$stress / 100
  }
  if (random_starts > 0) {
    others <- replicate(random_starts, simplify = FALSE, {
      smacof(matrix(rnorm(length(start)), ncol = ncol(start)), pairs, transform, 300)
    })
    best <- others[[which.min(sapply(others, stress1, pairs, transform))]]
    best <- stress1(bfgs(best, pairs, transform), pairs, transform)
    result$best_known_stress1 <- min(best, routes$bfgs)
  }
  c(result, list(configuration = found))
}

# Missing entries replaced by the shortest paths through the observed ones.
completed <- function(delta) {
  path <- as.matrix(delta)
  path[is.na(path)] <- Inf
  for (via in seq_len(nrow(path))) path <- pmin(path, outer(path[, via], path[via, ], "+"))
  as.dist(ifelse(is.na(as.matrix(delta)), path, as.matrix(delta)))
}

solved <- function(delta, dims = 2:3, random_starts = 0) {
  pairs <- observed_pairs(delta)
  transforms <- c("ratio", "interval", "ordinal_primary",
                  if (anyDuplicated(pairs$delta)) "ordinal_secondary")
  classical <- suppressWarnings(cmdscale(completed(delta), max(dims), eig = TRUE))
  runs <- lapply(setNames(dims, dims), function(k) {
    start <- rounded(classical$points[, 1:k])
    dimnames(start) <- NULL
    by_transform <- function(f) sapply(transforms, f, simplify = FALSE)
    list(start = start,
         start_stress1 = by_transform(function(t) stress1(start, pairs, t)),
         optimum = by_transform(function(t) optimum(delta, start, t, random_starts)))
  })
  constant <- if (!anyNA(delta)) suppressWarnings(cmdscale(delta, 1, add = TRUE))$ac
  c(list(n = pairs$n, missing_pairs = sum(is.na(delta)),
         distinct_dissimilarities = length(unique(pairs$delta)),
         dissimilarities = as.vector(delta), cmdscale_eigenvalues = classical$eig),
    if (!is.null(constant)) list(additive_constant = constant),
    list(runs = runs))
}

# ---- JSON of 10 significant digits; a vector, and a row of a matrix, is one line ----

json <- function(x, margin = "") {
  inner <- paste0(margin, " ")
  block <- function(open, lines, close) {
    paste0(open, "\n", paste0(inner, lines, collapse = ",\n"), "\n", margin, close)
  }
  line <- function(v) paste0("[", paste(ifelse(is.na(v), "null", sprintf("%.10g", v)),
                                        collapse = ", "), "]")
  if (is.list(x)) {
    values <- vapply(x, json, "", margin = inner)
    block("{", paste0("\"", names(x), "\": ", values), "}")
  } else if (is.matrix(x)) {
    block("[", apply(x, 1, line), "]")
  } else if (is.character(x)) {
    paste0("\"", x, "\"")
  } else if (length(x) > 1) {
    line(x)
  } else {
    sprintf("%.10g", x)
  }
}

if (sys.nframe() == 0) {
  for (name in names(all <- problems())) {
    problem <- all[[name]]
    small <- attr(problem$delta, "Size") < 30
    result <- solved(problem$delta, random_starts = if (small) 30 else 0)
    for (k in names(result$runs)) for (transform in names(result$runs[[k]]$optimum)) {
      found <- result$runs[[k]]$optimum[[transform]]
      cat(sprintf("%-13s k = %s  %-17s  %.10f  %+.1e\n", name, k, transform, found$stress1,
                  found$difference))
      stopifnot(abs(found$difference) < 1e-9)
    }
    writeLines(json(c(list(name = name, title = problem$title), result)), paste0(name, ".json"))
  }
}
